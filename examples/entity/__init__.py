"""An account that lives for ever: an entity workflow with continue-as-new."""
