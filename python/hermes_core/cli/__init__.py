"""What the command `hermes-core` does."""
