package io.winnow.pruning.internal.table;

/** Sums squared changes over the tokens of each group, in the order of the tokens. */
public final class GroupedSum {
  private final long tokensPerGroup;
  private double sumOfRoots;
  private double group;
  private long inGroup;

  /** Creates a sum of groups of so many tokens. */
  public GroupedSum(long tokensPerGroup) {
    this.tokensPerGroup = tokensPerGroup;
  }

  void add(double squaredNorm) {
    group += squaredNorm;
    inGroup++;
    if (inGroup == tokensPerGroup) {
      finish();
    }
  }

  /** Adds the squared changes of tokens' outputs, row-major {@code [tokens, width]}. */
  public void addChanges(double[] before, double[] after, int width) {
    for (int row = 0; row < before.length; row += width) {
      double square = 0;
      for (int i = row; i < row + width; i++) {
        square += (after[i] - before[i]) * (after[i] - before[i]);
      }
      add(square);
    }
  }

  private void finish() {
    // Rounding may take a sum that is really 0 below it.
    sumOfRoots += Math.sqrt(Math.max(0, group));
    group = 0;
    inGroup = 0;
  }

  /** Returns the sum over the groups of the roots of their sums. */
  public double sumOfRoots() {
    finish();
    return sumOfRoots;
  }
}
