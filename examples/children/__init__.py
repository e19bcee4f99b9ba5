"""Child workflows: a parcel run that sends out deliveries, each a workflow of its own."""
