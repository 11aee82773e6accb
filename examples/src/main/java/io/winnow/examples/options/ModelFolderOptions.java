package io.winnow.examples.options;

import java.nio.file.Path;
import picocli.CommandLine.Option;

/** {@code --model} alone, of commands that look at a checkpoint, or run it in their own way. */
public class ModelFolderOptions {
  @Option(
      names = "--model",
      required = true,
      paramLabel = "DIR",
      description = "a Hugging Face checkpoint folder")
  private Path model;

  /** Returns the folder. */
  public final Path folder() {
    return model;
  }
}
