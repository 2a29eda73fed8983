"""The file in which delegations and undelivered events survive the process."""
