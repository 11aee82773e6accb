package io.winnow.core.internal.form;

import org.jspecify.annotations.Nullable;

/**
 * The form of one layer's attention. Not part of the API.
 *
 * @param heads query heads
 * @param keyValueHeads key and value heads, a divisor of {@code heads}
 * @param headSize elements of a query's and a key's head
 * @param scale factor of the scores, usually 1 / sqrt(headSize)
 * @param visibility which earlier positions a token sees
 * @param rotarySize how many elements of a head are rotated; 0 where the layer knows no positions
 * @param interleaved whether neighbours are rotated together, instead of an element and the one
 *     half of them behind it
 * @param norm what is normalised of queries and keys
 * @param clip the greatest absolute value of queries, keys and values; 0 for any
 * @param temperature whether queries are scaled by their position ({@link Temperature})
 * @param latent the sizes of multi-head latent attention, or null for grouped queries
 */
public record AttentionConfig(
    int heads,
    int keyValueHeads,
    int headSize,
    double scale,
    Visibility visibility,
    int rotarySize,
    boolean interleaved,
    QueryKeyNorm norm,
    double clip,
    boolean temperature,
    @Nullable Latent latent) {

  /** What of queries and keys is divided by its root mean square. */
  public enum QueryKeyNorm {
    /** Nothing. */
    NONE,
    /** Each head, before the rotation. */
    HEAD,
    /** All heads together, before the rotation. */
    PROJECTION,
    /** Each head, behind the rotation and without weights. */
    ROTATED
  }

  /**
   * Which earlier positions a token sees.
   *
   * @param window how many positions back, itself included; 0 for all
   * @param chunk the length of the chunks that do not see each other; 0 for none
   * @param explicit whether the mask is needed even where it is plainly causal
   */
  public record Visibility(int window, int chunk, boolean explicit) {
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
   * The growth of scores with the position, in layers that know no positions (Llama 4): {@code 1 +
   * scale log(1 + floor((position + 1) / floor))}.
   */
  public record Temperature(double scale, double floor) {
    public float at(long position) {
      return (float) (1 + scale * Math.log1p(Math.floor((position + 1) / floor)));
    }
  }

  /**
   * The sizes of multi-head latent attention (DeepSeek-V2, arXiv 2405.04434, section 2.1), whose
   * cache holds one latent vector and one rotated key per token.
   *
   * @param plainSize elements of a query's and a key's head that are not rotated; the {@code
   *     rotarySize} others follow them
   * @param valueSize elements of a value's head
   * @param rank elements of the latent vector that keys and values are made of
   * @param queryRank elements of the latent vector that queries are made of; 0 where they are made
   *     of the input
   */
  public record Latent(int plainSize, int valueSize, int rank, int queryRank) {}

  /** Returns the key and value heads that are cached. */
  public int cachedHeads() {
    return latent == null ? keyValueHeads : 1;
  }

  /** Returns the elements of a cached key's head. */
  public int cachedKeySize() {
    return latent == null ? headSize : rotarySize;
  }

  /** Returns the elements of a cached value's head. */
  public int cachedValueSize() {
    return latent == null ? headSize : latent.rank();
  }

  /** Returns whether nothing but sizes and visibility sets it apart from Mixtral's attention. */
  public boolean isPlain() {
    return rotarySize == headSize
        && !interleaved
        && norm == QueryKeyNorm.NONE
        && clip == 0
        && !temperature
        && latent == null;
  }
}
