//! A ledger of the process alone: the rows as a map.
