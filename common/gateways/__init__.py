"""Payment providers behind one port: the embedded simulator and Stripe."""
