"""What people look at: gateway, pages, insights and traces, all learnt from the log and asks."""
