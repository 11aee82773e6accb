package io.winnow.examples.cli.run;

import java.util.List;

/** The commands that run a model, in the order in which {@code winnow --help} names them. */
public final class RunCommands {
  /** Their classes, which picocli makes. */
  public static final List<Class<?>> CLASSES =
      List.of(ForwardCommand.class, GenerateCommand.class, CalibrateSkipCommand.class);

  private RunCommands() {}
}
