"""The TUI's sessions."""
