package io.winnow.examples.options;

import io.winnow.examples.files.Outputs;
import java.io.IOException;
import java.nio.file.Path;
import picocli.CommandLine.Option;

/** {@code --out}: the folder of the checkpoint that a command makes. */
public final class OutFolderOptions {
  private static final String OUT = "--out";

  @Option(names = OUT, required = true, paramLabel = "DIR", description = "folder to write")
  private Path out;

  /** Returns the folder. */
  public Path folder() {
    return out;
  }

  /** Refuses a folder that exists, or cannot be created. */
  public void checkNew() {
    Outputs.requireNew(OUT, out);
  }

  /** Refuses a folder that exists, cannot be created, or is inside the model it is made of. */
  public void checkNew(Path source) throws IOException {
    Outputs.requireNewCheckpoint(OUT, out, source);
  }

  /** Says where the result is. */
  public void printWritten() {
    System.out.println("Written to " + out);
  }
}
