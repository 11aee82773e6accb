package io.winnow.core;

/**
 * What a {@link LanguageModel} keeps of the tokens it has taken, such as their keys and values, so
 * that the next ones need not compute them again.
 *
 * <p>{@link LanguageModel#newCache} makes one for a number of sequences, and only the model that
 * made it takes it. Not thread-safe: one cache serves one generation. The caller closes it, before
 * the model.
 */
public interface TokenCache extends AutoCloseable {
  /** Returns how many positions of each sequence are filled, padding included. */
  int length();

  /** Returns how many positions of each sequence are padding, as a copy. */
  long[] padding();

  /**
   * Notes that a sequence has ended: its place is still computed, but takes no expert any more.
   *
   * @param sequence counted from 0
   * @throws IndexOutOfBoundsException if there is no such sequence
   */
  void end(int sequence);

  @Override
  void close();
}
