package io.winnow.examples.bench;

import io.winnow.examples.bench.pruning.PruningBenchmarks;
import io.winnow.examples.bench.speed.SpeedBenchmarks;
import java.util.Comparator;
import java.util.List;
import java.util.stream.Stream;
import picocli.CommandLine;
import picocli.CommandLine.Command;

/** The command {@code winnow bench}, and its benchmarks in the order of their names. */
public final class BenchCommands {
  /** The command's class, which picocli makes. */
  public static final List<Class<?>> CLASSES = List.of(BenchCommand.class);

  private BenchCommands() {}

  /** Adds the benchmarks if the command is the one that has them. */
  public static void addBenchmarks(CommandLine command) {
    if (command.getCommandSpec().userObject() instanceof BenchCommand) {
      Stream.of(
              List.of(CheckpointCommand.class), PruningBenchmarks.CLASSES, SpeedBenchmarks.CLASSES)
          .<Class<?>>flatMap(List::stream)
          .sorted(Comparator.comparing(type -> type.getAnnotation(Command.class).name()))
          .forEach(command::addSubcommand);
    }
  }
}
