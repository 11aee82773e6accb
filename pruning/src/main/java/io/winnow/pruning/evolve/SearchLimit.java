package io.winnow.pruning.evolve;

import io.winnow.core.InvalidInputException;
import java.time.Duration;
import java.util.function.BooleanSupplier;

/**
 * When a phase of a search ends; asked between generations. Limits compose, as Jenetics' do:
 *
 * <pre>{@code
 * SearchLimit.evaluations(400).or(SearchLimit.stagnation(100)).or(SearchLimit.time(ofHours(8)))
 * }</pre>
 *
 * <p>Limits by time or by the caller end a repeated search elsewhere; the others do not.
 */
@FunctionalInterface
public interface SearchLimit {
  /** Returns whether the phase ends here. */
  boolean isReached(SearchState state);

  /** Returns how many individuals may be evaluated before it is asked again. */
  default int evaluationsLeft(SearchState state) {
    return Integer.MAX_VALUE;
  }

  /** Returns the limit that is reached when this one or the other is. */
  default SearchLimit or(SearchLimit other) {
    return new SearchLimits.Either(this, other);
  }

  /** Returns the limit that is reached after this many evaluations, exactly. */
  static SearchLimit evaluations(int evaluations) {
    if (evaluations < 0) {
      throw new InvalidInputException(
          "The limit of evaluations is " + evaluations + "; use at least 0");
    }
    return new SearchLimits.Evaluations(evaluations);
  }

  /** Returns the limit that is reached once so many evaluations in a row were no better. */
  static SearchLimit stagnation(int evaluations) {
    return state -> state.evaluationsSinceBest() >= evaluations;
  }

  /** Returns the limit that is reached once an individual is worth this much. */
  static SearchLimit target(double fitness) {
    return state -> state.best() != null && state.best().fitness() >= fitness;
  }

  /** Returns the limit that is reached when a phase has taken so long in this process. */
  static SearchLimit time(Duration time) {
    return state -> state.elapsed().compareTo(time) >= 0;
  }

  /** Returns the limit that is reached when the caller says so. */
  static SearchLimit when(BooleanSupplier stop) {
    return state -> stop.getAsBoolean();
  }
}
