package io.winnow.core.internal.file;

import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.List;
import java.util.stream.Stream;

/** What is said where a folder has no tokenizer.json. */
public final class TokenizerFiles {
  /** What is read. */
  public static final String NAME = "tokenizer.json";

  /** Endings of files that hold a tokenizer in another format. */
  private static final List<String> OTHERS =
      List.of(
          "tokenizer.model",
          "tiktoken.model",
          ".tiktoken",
          "spiece.model",
          "sentencepiece.bpe.model",
          ".spm",
          "tekken.json",
          "vocab.json",
          "vocab.txt");

  private TokenizerFiles() {}

  /** Returns a message that names the tokenizer which is there instead, and how to convert it. */
  public static String missing(Path folder) {
    String ids =
        " Token ids in a .safetensors file (tensor input_ids, [sequences, length]) work without"
            + " one.";
    List<String> others = others(folder);
    if (others.isEmpty()) {
      return "There is no tokenizer at "
          + folder.resolve(NAME)
          + ". Text needs the model's Hugging Face tokenizer.json: put it there, or give its path."
          + ids;
    }
    return folder
        + " has no tokenizer.json but "
        + String.join(" and ", others)
        + ", which is not read. Convert it with Transformers:"
        + " AutoTokenizer.from_pretrained(\""
        + folder
        + "\", trust_remote_code=True).save_pretrained(NEW_FOLDER), and put the tokenizer.json that"
        + " this writes into the folder; leave trust_remote_code out unless the folder has code of"
        + " its own that you trust."
        + ids;
  }

  private static List<String> others(Path folder) {
    if (!Files.isDirectory(folder)) {
      return List.of();
    }
    try (Stream<Path> files = Files.list(folder)) {
      return files
          .map(file -> String.valueOf(file.getFileName()))
          .filter(name -> OTHERS.stream().anyMatch(name::endsWith))
          .sorted()
          .toList();
    } catch (IOException e) {
      throw FileErrors.translate("read", folder, e);
    }
  }
}
