package io.winnow.examples.options;

import io.winnow.examples.files.TextFormat;
import picocli.CommandLine.Option;

/** {@code --text-field} and {@code --plain-text}: how text files are read. */
public final class TextFormatOptions {
  /** What a text may be, for the options that take one. */
  public static final String FILES =
      "text, JSON lines or a JSON list of rows (see --text-field), all of them also as .gz; or token"
          + " ids in .safetensors (tensor 'input_ids' [sequences, length])";

  @Option(
      names = "--text-field",
      paramLabel = "FIELD",
      defaultValue = "text",
      description = "the field of JSON rows that holds the text (default: ${DEFAULT-VALUE})")
  private String field;

  @Option(
      names = "--plain-text",
      description = "read a file as one text also where it holds JSON, brackets and all")
  private boolean plain;

  /** Returns what the options say. */
  public TextFormat format() {
    return new TextFormat(field, plain);
  }
}
