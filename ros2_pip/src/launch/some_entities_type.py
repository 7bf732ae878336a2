# SPDX-License-Identifier: Apache-2.0

"""What arguments that may hold entities accept."""

from collections.abc import Iterable

from launch.launch_description_entity import LaunchDescriptionEntity

#: One entity or several.
SomeEntitiesType = LaunchDescriptionEntity | Iterable[LaunchDescriptionEntity]
