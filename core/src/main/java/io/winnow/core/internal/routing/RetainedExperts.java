package io.winnow.core.internal.routing;

import io.winnow.core.InvalidInputException;
import java.util.List;

/** The rules for the experts that a layer retains. */
public final class RetainedExperts {
  private RetainedExperts() {}

  /** Checks that as many experts stay as every token selects. */
  public static void checkCount(int retained, int topK) {
    if (retained < topK) {
      throw new InvalidInputException(
          retained
              + " experts cannot serve tokens that select "
              + topK
              + " each; retain at least "
              + topK);
    }
  }

  /**
   * Checks the experts that one layer shall retain.
   *
   * @param layer the number of the decoder layer, for the message
   * @param numExperts n, the layer's experts
   * @param topK k, the experts that every token selects
   * @param retained the experts that stay
   * @throws InvalidInputException if they are fewer than k, do not ascend, or are not all in the
   *     layer
   */
  public static void check(int layer, int numExperts, int topK, List<Integer> retained) {
    if (retained.size() < topK) {
      throw new InvalidInputException(
          String.format(
              "Layer %d would retain %d experts %s, but every token selects %d; retain at least %d",
              layer, retained.size(), retained, topK, topK));
    }
    int previous = -1;
    for (int expert : retained) {
      if (expert < 0 || expert >= numExperts) {
        throw new InvalidInputException(
            String.format(
                "Layer %d has the experts 0 to %d; expert %d of %s cannot be retained. Is the choice"
                    + " for another model, or was it applied already?",
                layer, numExperts - 1, expert, retained));
      }
      if (expert <= previous) {
        throw new InvalidInputException(
            String.format(
                "The experts that layer %d retains must ascend without repetition, but are %s",
                layer, retained));
      }
      previous = expert;
    }
  }
}
