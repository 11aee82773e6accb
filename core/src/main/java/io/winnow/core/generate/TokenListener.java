package io.winnow.core.generate;

/**
 * Is told of every new token, in the thread that generates, right after it was chosen.
 *
 * <p>The pieces of text, put together, are the sequence's text. A piece holds whole characters
 * only: where a token ends inside one, or where a stop string may have begun, the text comes with a
 * later token and the piece is empty. A sequence's last call brings the rest.
 */
@FunctionalInterface
public interface TokenListener {
  /**
   * Takes a token.
   *
   * @param sequence the prompt's number in its batch, from 0
   * @param token the token's id
   * @param text the text that is certain now and was not before; empty without a tokenizer
   * @return whether to go on with this sequence; false ends it after this token, and the others of
   *     its batch go on
   */
  boolean onToken(int sequence, long token, String text);
}
