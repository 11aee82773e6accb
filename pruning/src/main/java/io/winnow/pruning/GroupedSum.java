package io.winnow.pruning;

/** Sums squared changes over the tokens of each group, in the order of the tokens. */
final class GroupedSum {
  private final long tokensPerGroup;
  private double sumOfRoots;
  private double group;
  private long inGroup;

  GroupedSum(long tokensPerGroup) {
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
  void addChanges(double[] before, double[] after, int width) {
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

  double sumOfRoots() {
    finish();
    return sumOfRoots;
  }
}
