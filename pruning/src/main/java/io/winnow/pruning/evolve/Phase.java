package io.winnow.pruning.evolve;

/** The two phases of EEP (arXiv 2407.00945, section 3). */
public enum Phase {
  /** W_RM = W_EM, rows that select one expert each: which experts stay. */
  PRUNING,
  /** Both matrices real-valued and independent: how the others merge into them. */
  MERGING
}
