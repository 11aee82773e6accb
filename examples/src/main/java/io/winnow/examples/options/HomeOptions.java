package io.winnow.examples.options;

import java.nio.file.Path;
import picocli.CommandLine.Option;

/** {@code --home}, which nobody has to give: the folder that holds demo, bench and bin. */
public final class HomeOptions {
  @Option(
      names = "--home",
      paramLabel = "DIR",
      hidden = true,
      defaultValue = "${sys:winnow.home:-examples}",
      description = "the folder 'examples'")
  private Path home;

  /** Returns the folder. */
  public Path folder() {
    return home;
  }
}
