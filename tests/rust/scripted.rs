//! A ledger that writes down what it is told, and answers when a test says so.

use std::sync::{Arc, Mutex};
use std::time::Instant;

use hermes_core::error::Error;
use hermes_core::ledger::receipt::{Answer, Promise};
use hermes_core::ledger::{
    Health, Hold, Home, Ledger, Millis, Notice, Outcome, Receipt, Row, Which, Write,
};
use hermes_core::wake::Signal;

#[derive(Default)]
pub(super) struct Scripted {
    told: Mutex<Vec<String>>,
    waiting: Mutex<Vec<Promise>>,
    /// Whether it answers at once.
    pub(super) is_prompt: bool,
}

impl Scripted {
    pub(super) fn prompt() -> Arc<Self> {
        Arc::new(Self { is_prompt: true, ..Self::default() })
    }

    /// What it was told since it was last asked.
    pub(super) fn told(&self) -> Vec<String> {
        std::mem::take(&mut *self.told.lock().unwrap())
    }

    /// Answers what waits.
    pub(super) fn answer(&self, answer: &Answer) {
        let waiting = std::mem::take(&mut *self.waiting.lock().unwrap());
        waiting.iter().for_each(|promise| promise.answer(answer.clone()));
    }
}

/// A row of that ledger.
pub(super) fn home(ledger: &Arc<Scripted>, id: &str) -> Arc<Home> {
    Arc::new(Home::new(ledger.clone(), Hold { id: id.into(), fence: 1 }))
}

fn line(write: &Write) -> String {
    match write {
        Write::Dispatch(row) => format!("dispatch {}", row.id),
        Write::Withdraw(hold) => format!("withdraw {}", hold.id),
        Write::Finish { hold, state, event, .. } => format!("finish {} {state} {event}", hold.id),
        Write::Attempts { hold, attempts } => format!("attempts {} {attempts}", hold.id),
        Write::Ack(hold) => format!("ack {}", hold.id),
        Write::Reopen(hold) => format!("reopen {}", hold.id),
        Write::Bury { hold, attempts } => format!("bury {} {attempts}", hold.id),
        Write::Drop(hold) => format!("drop {}", hold.id),
        other => format!("{other:?}"),
    }
}

impl Ledger for Scripted {
    fn keeps_texts(&self) -> bool {
        true
    }

    fn submit(&self, write: Write) -> Receipt {
        self.told.lock().unwrap().push(line(&write));
        if self.is_prompt {
            return Receipt::known(Ok(Outcome::Done));
        }
        let (receipt, promise) = Receipt::pending();
        self.waiting.lock().unwrap().push(promise);
        receipt
    }

    fn read(&self, _: Which<'_>) -> Result<Vec<Row>, Error> {
        Ok(Vec::new())
    }

    fn adopt(&self, _: &[&str]) -> Result<Vec<Row>, Error> {
        Ok(Vec::new())
    }

    fn look_after(&self, _: Millis) {}

    fn notice(&self, _: &Arc<Signal>) -> Option<Notice> {
        None
    }

    fn health(&self) -> Health {
        Health::default()
    }

    fn flush(&self, _: Instant) -> bool {
        true
    }

    fn release(&self, _: Instant) -> bool {
        true
    }
}
