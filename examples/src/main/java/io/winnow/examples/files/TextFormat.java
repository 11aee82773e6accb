package io.winnow.examples.files;

/**
 * How text files are read where what they hold leaves a choice.
 *
 * @param field of objects, that holds the text
 * @param plain whether a file is one text also where it holds JSON
 */
public record TextFormat(String field, boolean plain) {
  /** What is used without options. */
  public static final TextFormat DEFAULT = new TextFormat("text", false);
}
