"""The completion queue, its mailboxes and their deliveries."""
