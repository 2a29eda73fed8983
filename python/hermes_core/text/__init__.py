"""Plain data, redaction, truncation and the notification's text."""
