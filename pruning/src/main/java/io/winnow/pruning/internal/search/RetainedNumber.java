package io.winnow.pruning.internal.search;

import io.winnow.core.InvalidInputException;
import io.winnow.core.Routing;
import java.util.List;
import java.util.stream.IntStream;

/** How many experts a layer can retain. */
public final class RetainedNumber {
  private RetainedNumber() {}

  /**
   * Checks that a layer can retain so many experts.
   *
   * @param layer the number of the decoder layer, for the message
   * @throws InvalidInputException if not
   */
  public static void check(int layer, int numExperts, Routing routing, int retained) {
    int topK = routing.topK();
    if (retained < topK) {
      throw new InvalidInputException(
          String.format(
              "Cannot retain %d experts: every token selects %d in layer %d; retain %d to %d",
              retained, topK, layer, topK, numExperts));
    }
    if (retained > numExperts) {
      throw new InvalidInputException(
          String.format(
              "Cannot retain %d experts: layer %d has %d; retain %d to %d",
              retained, layer, numExperts, topK, numExperts));
    }
    checkGroups(layer, numExperts, routing, retained);
  }

  /** Checks what a layer whose groups must stay equally large demands besides. */
  private static void checkGroups(int layer, int numExperts, Routing routing, int retained) {
    int groups = routing.groups();
    if (groups == 1) {
      return;
    }
    if (retained % groups != 0) {
      throw new InvalidInputException(
          String.format(
              "Cannot retain %d experts: those of layer %d are routed in %d groups, which must stay"
                  + " equally large; retain a multiple of %d",
              retained, layer, groups, groups));
    }
    List<Integer> all = IntStream.range(0, numExperts).boxed().toList();
    List<Integer> any = EqualGroups.of(routing, numExperts).first(all, retained);
    routing.retain(any.stream().mapToInt(Integer::intValue).toArray());
  }

  /** Returns whether a layer can retain so many experts. */
  public static boolean isPossible(int numExperts, Routing routing, int retained) {
    try {
      check(0, numExperts, routing, retained);
      return true;
    } catch (InvalidInputException e) {
      return false;
    }
  }
}
