package io.winnow.core;

/**
 * How large the experts of a layer become.
 *
 * @param experts how many stay, at least 1
 * @param width the channels that each of them keeps, at least 1
 */
public record LayerSize(int experts, int width) {
  public LayerSize {
    if (experts < 1 || width < 1) {
      throw new InvalidInputException(
          String.format(
              "A layer cannot keep %d experts of %d channels; keep at least 1 of 1",
              experts, width));
    }
  }

  /** Returns the channels of all experts together. */
  public long channels() {
    return (long) experts * width;
  }
}
