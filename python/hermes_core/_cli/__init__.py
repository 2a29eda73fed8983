"""What the command `hermes-core` does, a module for each kind of command."""
