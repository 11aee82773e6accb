package io.winnow.examples.options;

import io.winnow.examples.files.Outputs;
import java.nio.file.Path;
import org.jspecify.annotations.Nullable;
import picocli.CommandLine.Option;

/** {@code --report}: what a command did, as a JSON file. */
public final class ReportFileOptions {
  @Option(names = "--report", paramLabel = "FILE.json", description = "report to write")
  private @Nullable Path report;

  /** Returns the file; null if no report is wanted. */
  public @Nullable Path file() {
    return report;
  }

  /**
   * Refuses a file that cannot be written.
   *
   * @param created the folder that the command itself makes, in which the report may be
   */
  public void check(Path created) {
    Outputs.requireFile("--report", report, created);
  }
}
