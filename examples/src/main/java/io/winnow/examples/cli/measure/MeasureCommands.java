package io.winnow.examples.cli.measure;

import java.util.List;

/** The commands that measure, in the order in which {@code winnow --help} names them. */
public final class MeasureCommands {
  /** Their classes, which picocli makes. */
  public static final List<Class<?>> CLASSES = List.of(EvaluateCommand.class, CompareCommand.class);

  private MeasureCommands() {}
}
