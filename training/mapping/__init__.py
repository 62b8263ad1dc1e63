"""Maps by several processes, and of one drive more."""
