"""Which group serves which slots: configurations, how each follows from the last, and who keeps them."""
