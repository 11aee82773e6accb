package io.winnow.pruning.evolve;

/** The limits that know how many evaluations are left. */
final class SearchLimits {
  private SearchLimits() {}

  /** A number of evaluations. */
  record Evaluations(int evaluations) implements SearchLimit {
    @Override
    public boolean isReached(SearchState state) {
      return state.evaluations() >= evaluations;
    }

    @Override
    public int evaluationsLeft(SearchState state) {
      return Math.max(0, evaluations - state.evaluations());
    }
  }

  /** The first of two. */
  record Either(SearchLimit one, SearchLimit other) implements SearchLimit {
    @Override
    public boolean isReached(SearchState state) {
      return one.isReached(state) || other.isReached(state);
    }

    @Override
    public int evaluationsLeft(SearchState state) {
      return Math.min(one.evaluationsLeft(state), other.evaluationsLeft(state));
    }
  }
}
