"""One call from greeting to goodbye: turn machine, responder, playout, session, records."""
