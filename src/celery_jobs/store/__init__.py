"""The jobs database: tables, one guarded function for each transition, and reads."""
