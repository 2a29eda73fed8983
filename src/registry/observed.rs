//! What the registry hears of its delegations' events.

use std::collections::HashSet;
use std::sync::Arc;

use super::{DelegationRegistry, Delivery};
use crate::ledger::Home;
use crate::queue::DeliveryObserver;

impl<P> DelegationRegistry<P> {
    fn left(&self, delegation_id: &str, delivery: Delivery) {
        let mut table = self.table.0.lock();
        let Some(record) = table.records.get_mut(delegation_id) else { return };
        record.in_queue -= 1;
        let before = record.delivery;
        if !matches!(before, Delivery::Pending | Delivery::Dead) || record.in_queue > 0 {
            return;
        }
        record.delivery = delivery;
        let entry = (record.id.clone(), record.seq);
        match before {
            Delivery::Dead => table.dead -= 1,
            _ => table.undelivered -= 1,
        }
        table.retained += 1;
        table.delivered.push_back(entry);
    }

    pub(super) fn came_back(&self, delegation_id: &str) {
        let mut table = self.table.0.lock();
        let Some(record) = table.records.get_mut(delegation_id) else { return };
        record.in_queue += 1;
        if !record.delivery.is_over() || record.in_queue <= 0 {
            return;
        }
        record.delivery = Delivery::Pending;
        table.undelivered += 1;
        table.retained -= 1;
        // An event that circulates would grow the list by one entry a round.
        let newest = table.delivered.back().is_some_and(|(id, _)| &**id == delegation_id);
        if newest {
            table.delivered.pop_back();
        } else if table.delivered.len() > 2 * (table.retained + 64) {
            let mut delivered = std::mem::take(&mut table.delivered);
            let mut seen = HashSet::new();
            delivered.retain(|(id, seq)| table.is_delivered(id, *seq) && seen.insert(*seq));
            table.delivered = delivered;
        }
    }
}

impl<P: Send> DeliveryObserver for DelegationRegistry<P> {
    fn taken(&self, delegation_id: &str) {
        self.left(delegation_id, Delivery::Delivered);
    }

    fn dropped(&self, delegation_id: &str) {
        self.left(delegation_id, Delivery::Dropped);
    }

    fn returned(&self, delegation_id: &str) {
        self.came_back(delegation_id);
    }

    fn buried(&self, delegation_id: &str) {
        let mut table = self.table.0.lock();
        let record = table.records.get_mut(delegation_id);
        if let Some(record) = record.filter(|record| record.delivery == Delivery::Pending) {
            record.delivery = Delivery::Dead;
            table.undelivered -= 1;
            table.dead += 1;
        }
    }

    fn home(&self, delegation_id: &str) -> Option<Arc<Home>> {
        let table = self.table.0.lock();
        let record = table.records.get(delegation_id).filter(|record| record.published)?;
        record.home()
    }
}
