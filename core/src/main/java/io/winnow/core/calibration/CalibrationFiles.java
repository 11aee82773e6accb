package io.winnow.core.calibration;

import com.google.gson.JsonArray;
import com.google.gson.JsonElement;
import com.google.gson.JsonObject;
import io.winnow.core.InvalidInputException;
import io.winnow.core.internal.file.JsonLines;
import io.winnow.core.internal.file.JsonText;
import io.winnow.core.internal.file.TextFiles;
import io.winnow.core.internal.file.TextInput;
import io.winnow.core.internal.safetensors.SafetensorsFile;
import io.winnow.core.internal.safetensors.TensorInfo;
import java.io.IOException;
import java.io.InputStream;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.Arrays;
import java.util.List;
import java.util.Locale;
import java.util.Map;
import java.util.TreeSet;
import java.util.function.Consumer;
import org.jspecify.annotations.Nullable;

/** The three kinds of file that a calibration is read from. What a file holds decides. */
final class CalibrationFiles {
  /**
   * The tokenizer takes some 200 bytes of memory for each byte of a document, and a calibration of
   * 128 sequences of 2048 tokens uses about one megabyte of text.
   */
  private static final int MAX_TEXT_BYTES = 64 << 20;

  private CalibrationFiles() {}

  /** Whether a file holds token ids, or has a name that says so. */
  static boolean isTokenIds(Path file) {
    return SafetensorsFile.isSafetensors(file);
  }

  /**
   * Hands a file's documents to {@code documents}, in file order, holding one at a time.
   *
   * @param plain whether the file is one document whatever it holds
   */
  static void readDocuments(
      Path file, String textField, boolean plain, Consumer<String> documents) {
    requireFile(file);
    switch (plain ? JsonText.Kind.PROSE : JsonText.of(file)) {
      case ROWS ->
          JsonLines.read(
              file,
              "{\"" + textField + "\": \"…\"}",
              line -> accept(line.name(), textOf(line, textField), documents));
      case OTHER ->
          throw new InvalidInputException(
              file
                  + " holds JSON, but neither one object a line (JSON lines) nor a list of objects."
                  + " Write one JSON object a line, {\""
                  + textField
                  + "\": \"…\"}; or have it read as it is, brackets and all (--plain-text).");
      case PROSE -> accept(file.toString(), readText(file), documents);
    }
  }

  /** Says whose text it is that is refused. */
  private static void accept(String name, String text, Consumer<String> documents) {
    try {
      documents.accept(text);
    } catch (InvalidInputException e) {
      throw new InvalidInputException(name + ": " + e.getMessage(), e);
    }
  }

  private static String readText(Path file) {
    try (InputStream in = TextInput.open(file)) {
      byte[] bytes = in.readNBytes(MAX_TEXT_BYTES + 1);
      if (bytes.length > MAX_TEXT_BYTES) {
        throw new InvalidInputException(
            file
                + " has "
                + Files.size(file)
                + " bytes; a text file is tokenised as one document, of at most "
                + MAX_TEXT_BYTES
                + " bytes when it is decompressed. Give a part of it, a calibration uses a few"
                + " megabytes, or a .jsonl file with a document on each line.");
      }
      return TextFiles.decode(bytes, file, "");
    } catch (IOException e) {
      throw TextFiles.cannotRead(file, e);
    }
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
    if (text != null && text.isJsonPrimitive() && text.getAsJsonPrimitive().isString()) {
      return text.getAsString();
    }
    String chat = chatField(line.json());
    if (chat != null) {
      throw new InvalidInputException(
          line.name()
              + " is a chat, in the field \""
              + chat
              + "\", and a model's chat template is not applied here. Write what the template makes"
              + " of it into a field \"text\", with Transformers:"
              + " tokenizer.apply_chat_template(row[\""
              + chat
              + "\"], tokenize=False).");
    }
    if (text == null) {
      throw new InvalidInputException(
          line.name()
              + " has no field \""
              + textField
              + "\"; its fields are "
              + line.json().keySet()
              + ". Name the one that holds the text (--text-field).");
    }
    throw new InvalidInputException(
        String.format(
            "Field \"%s\" in %s %d of %s is not a string but %s. Name the field that holds the"
                + " text (--text-field).",
            textField,
            line.unit().toLowerCase(Locale.ROOT),
            line.number(),
            line.file(),
            JsonLines.kindOf(text)));
  }

  /** Returns the field with a list of messages, whatever it is called; null if there is none. */
  private static @Nullable String chatField(JsonObject row) {
    for (Map.Entry<String, JsonElement> field : row.entrySet()) {
      if (field.getValue() instanceof JsonArray list
          && !list.isEmpty()
          && list.get(0) instanceof JsonObject message
          && (message.has("role") || message.has("from"))) {
        return field.getKey();
      }
    }
    return null;
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
