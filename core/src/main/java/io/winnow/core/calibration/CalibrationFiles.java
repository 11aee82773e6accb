package io.winnow.core.calibration;

import com.google.gson.JsonElement;
import io.winnow.core.InvalidInputException;
import io.winnow.core.internal.file.JsonLines;
import io.winnow.core.internal.file.TextFiles;
import io.winnow.core.internal.safetensors.SafetensorsFile;
import io.winnow.core.internal.safetensors.TensorInfo;
import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.Arrays;
import java.util.List;
import java.util.Locale;
import java.util.TreeSet;
import java.util.function.Consumer;

/** The three kinds of file that a calibration is read from. */
final class CalibrationFiles {
  /**
   * The tokenizer takes some 200 bytes of memory for each byte of a document, and a calibration of
   * 128 sequences of 2048 tokens uses about one megabyte of text.
   */
  private static final long MAX_TEXT_BYTES = 64L << 20;

  private static final char BYTE_ORDER_MARK = '\uFEFF';

  /** What a file holds, told by how its name ends. */
  enum Kind {
    TEXT,
    JSON_LINES,
    TOKEN_IDS;

    static Kind of(Path file) {
      String name = String.valueOf(file.getFileName()).toLowerCase(Locale.ROOT);
      if (name.endsWith(".safetensors")) {
        return TOKEN_IDS;
      }
      return name.endsWith(".jsonl") ? JSON_LINES : TEXT;
    }
  }

  private CalibrationFiles() {}

  /** Reads a text file as one document. */
  static String readText(Path file) {
    requireFile(file);
    try {
      if (Files.size(file) > MAX_TEXT_BYTES) {
        throw new InvalidInputException(
            file
                + " has "
                + Files.size(file)
                + " bytes; a text file is tokenised as one document, of at most "
                + MAX_TEXT_BYTES
                + " bytes. Give a part of it, a calibration uses a few megabytes, or a .jsonl file"
                + " with a document on each line.");
      }
      String text = TextFiles.decode(Files.readAllBytes(file), file, "");
      return !text.isEmpty() && text.charAt(0) == BYTE_ORDER_MARK ? text.substring(1) : text;
    } catch (IOException e) {
      throw TextFiles.cannotRead(file, e);
    }
  }

  /** Hands every line's text to {@code documents}, in file order, holding one line at a time. */
  static void readJsonLines(Path file, String textField, Consumer<String> documents) {
    requireFile(file);
    JsonLines.read(
        file, "{\"" + textField + "\": \"…\"}", line -> documents.accept(textOf(line, textField)));
  }

  /** Reads a tensor of token ids, {@code [sequences, length]}. */
  static long[][] readTokenIds(Path file, String tensor) {
    requireFile(file);
    SafetensorsFile source = SafetensorsFile.open(file);
    TensorInfo info = source.tensors().get(tensor);
    if (info == null) {
      throw new InvalidInputException(
          file
              + " has no tensor \""
              + tensor
              + "\"; its tensors are "
              + new TreeSet<>(source.tensors().keySet())
              + ". Name the one that holds the token ids (optTensor).");
    }
    List<Long> shape = info.shape();
    if (shape.size() != 2 || shape.get(0) == 0 || shape.get(1) == 0) {
      throw new InvalidInputException(
          "Tensor \""
              + tensor
              + "\" in "
              + file
              + " has the shape "
              + shape
              + "; token ids have [sequences, length], both at least 1.");
    }
    long[] flat = source.readLongs(tensor);
    int length = Math.toIntExact(shape.get(1));
    long[][] ids = new long[flat.length / length][];
    for (int i = 0; i < ids.length; i++) {
      ids[i] = Arrays.copyOfRange(flat, i * length, (i + 1) * length);
    }
    return ids;
  }

  private static String textOf(JsonLines.Line line, String textField) {
    JsonElement text = line.json().get(textField);
    if (text == null) {
      throw new InvalidInputException(
          line.name()
              + " has no field \""
              + textField
              + "\"; its fields are "
              + line.json().keySet()
              + ". Name the one that holds the text (optTextField).");
    }
    if (!text.isJsonPrimitive() || !text.getAsJsonPrimitive().isString()) {
      throw new InvalidInputException(
          String.format(
              "Field \"%s\" in line %d of %s is not a string but %s. Name the field that holds the"
                  + " text (optTextField).",
              textField, line.number(), line.file(), JsonLines.kindOf(text)));
    }
    return text.getAsString();
  }

  private static void requireFile(Path file) {
    if (!Files.isRegularFile(file)) {
      throw new InvalidInputException(
          (Files.exists(file) ? "Not a file: " : "No such file: ")
              + file
              + ". A calibration is read from a text file, a .jsonl file, or token ids in a"
              + " .safetensors file.");
    }
  }
}
