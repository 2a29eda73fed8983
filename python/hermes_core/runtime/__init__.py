"""What everything else runs on: the log, event loops, worker threads."""
