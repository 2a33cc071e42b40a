"""Many groups, a controller and clients in one simulated world: slots move while everything is tormented."""
