package io.winnow.core.internal.form;

import org.jspecify.annotations.Nullable;

/**
 * How a layer's sequence mixer uses the positions of tokens.
 *
 * @param rotary the rotation; null where the layer knows no positions
 * @param visibility which earlier positions a token sees
 * @param growth of the queries with the position, or null
 */
public record PositionForm(
    @Nullable RotaryConfig rotary, Visibility visibility, @Nullable Growth growth) {

  /**
   * Which earlier positions a token sees.
   *
   * @param window how many positions back, itself included; 0 for all
   * @param chunk the length of the chunks that do not see each other; 0 for none
   * @param explicit whether the mask is needed even where it is plainly causal
   */
  public record Visibility(int window, int chunk, boolean explicit) {
    /** Of all earlier positions. */
    public static final Visibility ALL = new Visibility(0, 0, false);

    /** Returns whether a position sees an earlier one. */
    public boolean sees(long position, long earlier) {
      return (window == 0 || position - earlier < window)
          && (chunk == 0 || position / chunk == earlier / chunk);
    }

    /** Returns the first position that a token sees, where positions are not padded. */
    public int first(int position) {
      int ofWindow = window == 0 ? 0 : Math.max(0, position + 1 - window);
      int ofChunk = chunk == 0 ? 0 : position / chunk * chunk;
      return Math.max(ofWindow, ofChunk);
    }

    /** Returns whether all positions up to the token's are seen, for so many. */
    public boolean isCausal(int positions) {
      return (window == 0 || positions <= window) && (chunk == 0 || positions <= chunk);
    }
  }

  /**
   * The growth of queries with the position (Llama 4): {@code 1 + scale log(1 + floor((position +
   * 1) / floor))}.
   */
  public record Growth(double scale, double floor) {
    /** Returns the factor of a position. */
    public float at(long position) {
      return (float) (1 + scale * Math.log1p(Math.floor((position + 1) / floor)));
    }
  }

  /** Returns how many elements of a head are rotated; 0 where the layer knows no positions. */
  public int rotarySize() {
    return rotary == null ? 0 : rotary.size();
  }

  /** Returns whether neighbours are rotated together. */
  public boolean isInterleaved() {
    return rotary != null && rotary.interleaved();
  }
}
