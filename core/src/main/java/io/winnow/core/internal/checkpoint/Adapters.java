package io.winnow.core.internal.checkpoint;

import io.winnow.core.InvalidInputException;
import java.nio.file.Files;
import java.nio.file.Path;

/** Adapters (LoRA and others) beside a model's weights, which are not applied. */
final class Adapters {
  private static final String CONFIG = "adapter_config.json";

  private Adapters() {}

  /** Whether a file, by its name, says what an adapter is; its weights are known by theirs. */
  static boolean isConfig(String fileName) {
    return String.valueOf(Path.of(fileName).getFileName()).equals(CONFIG);
  }

  /**
   * Refuses a folder that Transformers would load with an adapter.
   *
   * @throws InvalidInputException if there is one
   */
  static void requireNone(Path folder) {
    if (Files.isRegularFile(folder.resolve(CONFIG))) {
      throw new InvalidInputException(
          folder
              + " holds an adapter ("
              + CONFIG
              + "), which would be left out. Merge it into the weights first, with the Python"
              + " library peft: AutoPeftModelForCausalLM.from_pretrained(FOLDER)"
              + ".merge_and_unload().save_pretrained(NEW_FOLDER); or, to use the model without"
              + " it, move the files adapter_* elsewhere.");
    }
  }
}
