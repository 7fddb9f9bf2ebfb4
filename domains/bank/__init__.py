"""The bank domain: accounts, transfers, balances."""
