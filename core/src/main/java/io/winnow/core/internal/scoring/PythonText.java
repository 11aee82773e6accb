package io.winnow.core.internal.scoring;

/** Where Python's idea of a text differs from Java's: the reference implementations are Python. */
public final class PythonText {
  private PythonText() {}

  /** Returns whether Python's {@code str.isspace} holds; all such characters are in the BMP. */
  public static boolean isBlank(char character) {
    return Character.isWhitespace(character)
        || Character.isSpaceChar(character)
        || character == '\u0085';
  }
}
