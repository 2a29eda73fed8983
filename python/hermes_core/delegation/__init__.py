"""The registry of delegations, and what runs, ends and restores them."""
