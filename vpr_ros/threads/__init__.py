"""Work on threads: ahead of its use, of the latest alone, no more often than asked for."""
