"""Every method against the exact optimum, in worlds whose completions can all be counted."""
