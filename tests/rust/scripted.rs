//! A ledger that writes down what it is told, and answers when a test says so.

use std::sync::{Arc, Mutex};
use std::time::Instant;

use hermes_core::error::Error;
use hermes_core::ledger::receipt::{Answer, Promise};
use hermes_core::ledger::{
    Claim, Health, Ledger, Millis, Notice, Outcome, Receipt, Row, RowHandle, Which, Write,
};
use hermes_core::sync::signal::Signal;

#[derive(Default)]
pub(super) struct Scripted {
    told: Mutex<Vec<String>>,
    waiting: Mutex<Vec<Promise>>,
    /// Whether it answers at once.
    pub(super) is_prompt: bool,
    // What it answers at once, if not that it is done.
    prompt: Mutex<Option<Answer>>,
    // Called with each line, while it is written.
    hook: Mutex<Option<Hook>>,
}

/// What a test does while something is written.
type Hook = Box<dyn FnMut(&str) + Send>;

impl Scripted {
    pub(super) fn prompt() -> Arc<Self> {
        Arc::new(Self { is_prompt: true, ..Self::default() })
    }

    /// Has it answer so at once from now on.
    pub(super) fn answers(&self, answer: Answer) {
        *self.prompt.lock().unwrap() = Some(answer);
    }

    /// Has `hook` called with each line, while it is written; it may write too.
    pub(super) fn during(&self, hook: impl FnMut(&str) + Send + 'static) {
        *self.hook.lock().unwrap() = Some(Box::new(hook));
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
pub(super) fn row(ledger: &Arc<Scripted>, id: &str, fence: u64) -> RowHandle {
    RowHandle::new(ledger.clone(), Claim { id: id.into(), fence })
}

fn line(write: &Write) -> String {
    match write {
        Write::Dispatch(row) => format!("dispatch {}", row.id),
        Write::Begin(claim) => format!("begin {}", claim.id),
        Write::Withdraw(claim) => format!("withdraw {}", claim.id),
        Write::Finish { claim, state, event, .. } => format!("finish {} {state} {event}", claim.id),
        Write::Attempts { claim, attempts } => format!("attempts {} {attempts}", claim.id),
        Write::Ack(claim) if claim.fence > 1 => format!("ack {} {}", claim.id, claim.fence),
        Write::Ack(claim) => format!("ack {}", claim.id),
        Write::Reopen(claim) => format!("reopen {}", claim.id),
        Write::Park(claim) => format!("park {}", claim.id),
        Write::GiveBack(claim) => format!("give back {}", claim.id),
        Write::Bury { claim, attempts } => format!("bury {} {attempts}", claim.id),
        Write::Drop(claim) => format!("drop {}", claim.id),
        other => format!("{other:?}"),
    }
}

impl Ledger for Scripted {
    fn submit(&self, write: Write) -> Receipt {
        let line = line(&write);
        let hook = self.hook.lock().unwrap().take();
        if let Some(mut hook) = hook {
            hook(&line);
            self.hook.lock().unwrap().get_or_insert(hook);
        }
        if self.is_prompt {
            self.told.lock().unwrap().push(line);
            let prompt = self.prompt.lock().unwrap().clone();
            return Receipt::known(prompt.unwrap_or(Ok(Outcome::Done)));
        }
        let (receipt, promise) = Receipt::pending();
        self.waiting.lock().unwrap().push(promise);
        // Last: whoever sees it may answer.
        self.told.lock().unwrap().push(line);
        receipt
    }

    fn read(&self, _: Which<'_>) -> Result<Vec<Row>, Error> {
        Ok(Vec::new())
    }

    fn adopt(&self, _: &[&str]) -> Result<Vec<Row>, Error> {
        Ok(Vec::new())
    }

    fn is_surely_ours(&self) -> bool {
        true
    }

    fn look_again(&self, _: Millis) {}

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
