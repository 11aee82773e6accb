package io.winnow.examples.cli.train;

import java.util.List;

/** The commands that search and train, in the order in which {@code winnow --help} names them. */
public final class TrainCommands {
  /** Their classes, which picocli makes. */
  public static final List<Class<?>> CLASSES =
      List.of(EvolveCommand.class, FineTuneCommand.class, WorkerCommand.class);

  private TrainCommands() {}
}
