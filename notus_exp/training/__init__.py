"""Training a policy on pairs: DPO, KTO, CPO, SimPO, ORPO, or the chosen responses alone."""
