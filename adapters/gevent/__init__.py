"""schedcore among greenlets."""
