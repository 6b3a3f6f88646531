"""What lives as long as the process: the directory of users, the ledger, the relay."""
